"""ImageNet-1k from folders by WordNet number, with ImageNet-O as images of none of its classes.

The 200 classes of ImageNet-1k whose names ImageNet-O's folders bear are from the list in
hendrycks/natural-adv-examples, `eval_many_models.py` (Hendrycks et al. 2021, Natural Adversarial
Examples). They are not the 200 classes of ImageNet-A.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import folders
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import require_folder

LOGITS = 1000  # classes, and logits of a network for them
FOLDER, OUTSIDE = "imagenet", "imagenet-o"

LAYOUT = (
    f"{FOLDER}/val/WNID/*.JPEG for the {LOGITS:,} WordNet numbers and, for training, "
    f"{FOLDER}/train/ likewise; beside it, if wanted, {OUTSIDE}/WNID/*.JPEG"
)


def imagenet(root: Path) -> FileDataset:
    """50,000 validation images of 1,000 classes (Russakovsky et al. 2015), and what lies beside.

    The training images are the split `train` where they are there, ImageNet-O's (Hendrycks et al.
    2021) the split `out`. Classes are named by WordNet number, in sorted order, which is the order
    of the logits in every published network. Sample numbers follow the sorted paths, so that they
    are rows of ImageNet-C's folders, too.

    Raises:
        BadFile: its folder is absent, or holds no 1,000 class folders.
    """
    folder = require_folder(root / FOLDER, "ImageNet", LAYOUT)
    found = folders.listing(require_folder(folder / "val", "ImageNet", LAYOUT), root)
    if len(found.classes) != LOGITS:
        raise BadFile(
            f"expected {LOGITS:,} folders by WordNet number in {folder / 'val'}, "
            f"got {len(found.classes)}; the official archive has none: sort its images into them"
        )
    parts = {"test": folders.class_files(folder / "val", found, found.classes)}
    if (folder / "train").is_dir():
        train = folders.listing(folder / "train", root)
        parts["train"] = folders.class_files(folder / "train", train, found.classes)
    if (root / OUTSIDE).is_dir():
        parts["out"] = folders.ood_files(root / OUTSIDE, folders.listing(root / OUTSIDE, root))
    return FileDataset(
        name="imagenet",
        parts=parts,
        classes=found.classes,
        about="ImageNet-1k, ILSVRC 2012 (Russakovsky et al. 2015; research use)",
        root=root,
    )


_PAIRS = """
n01443537:1 n01704323:51 n01770081:70 n01784675:79 n01819313:89 n01820546:90 n01910747:107
n01917289:109 n01968897:117 n02074367:149 n02317335:327 n02319095:328 n02395406:341
n02454379:363 n02606052:392 n02655020:397 n02666196:398 n02672831:401 n02730930:411
n02777292:416 n02783161:418 n02786058:419 n02787622:420 n02791270:424 n02808304:434
n02817516:439 n02841315:447 n02865351:451 n02877765:455 n02892767:459 n02906734:462
n02910353:464 n02916936:465 n02948072:470 n02965783:475 n03000134:489 n03000684:491
n03017168:494 n03026506:496 n03032252:498 n03075370:507 n03109150:512 n03126707:517
n03134739:522 n03160309:525 n03196217:530 n03207743:533 n03218198:537 n03223299:539
n03240683:540 n03271574:545 n03291819:549 n03297495:550 n03314780:551 n03325584:552
n03344393:554 n03347037:556 n03372029:558 n03376595:559 n03388043:562 n03388183:563
n03400231:567 n03445777:574 n03457902:580 n03467068:583 n03482405:588 n03483316:589
n03494278:593 n03530642:599 n03544143:604 n03584829:606 n03590841:607 n03598930:611
n03602883:613 n03649909:621 n03661043:624 n03666591:626 n03676483:629 n03692522:633
n03706229:635 n03717622:640 n03720891:641 n03721384:642 n03724870:643 n03729826:644
n03733131:645 n03733281:646 n03742115:648 n03786901:666 n03788365:669 n03794056:674
n03804744:677 n03814639:678 n03814906:679 n03825788:680 n03840681:684 n03843555:686
n03854065:687 n03857828:688 n03868863:691 n03874293:694 n03884397:699 n03891251:703
n03908714:710 n03920288:712 n03929660:714 n03930313:716 n03937543:720 n03942813:722
n03944341:723 n03961711:729 n03970156:731 n03982430:736 n03991062:738 n03995372:740
n03998194:741 n04005630:743 n04023962:747 n04033901:749 n04040759:753 n04067472:758
n04074963:761 n04116512:767 n04118776:769 n04125021:771 n04127249:772 n04131690:773
n04141975:778 n04153751:783 n04154565:784 n04201297:789 n04204347:791 n04209133:793
n04209239:794 n04228054:795 n04235860:797 n04243546:800 n04252077:802 n04254120:804
n04258138:807 n04265275:811 n04270147:813 n04275548:815 n04330267:827 n04332243:828
n04336792:830 n04347754:833 n04371430:842 n04371774:843 n04372370:844 n04376876:845
n04409515:852 n04417672:853 n04418357:854 n04423845:855 n04429376:857 n04435653:858
n04442312:859 n04482393:870 n04501370:877 n04507155:879 n04525305:886 n04542943:891
n04554684:897 n04557648:898 n04562935:900 n04579432:902 n04591157:906 n04597913:910
n04599235:911 n06785654:918 n06874185:920 n07615774:929 n07693725:931 n07695742:932
n07697537:934 n07711569:935 n07714990:937 n07715103:938 n07716358:939 n07717410:941
n07718472:943 n07720875:945 n07742313:948 n07745940:949 n07747607:950 n07749582:951
n07753275:953 n07753592:954 n07754684:955 n07768694:957 n07836838:960 n07871810:962
n07873807:963 n07880968:965 n09229709:971 n09472597:980 n12144580:987 n12267677:988
n13052670:996
"""

# WordNet number: its place among ImageNet-1k's 1,000 WordNet numbers in sorted order, which is the
# order of the logits in every published network.
PLACES: Mapping[str, int] = {
    wnid: int(place) for wnid, place in (pair.split(":") for pair in _PAIRS.split())
}


def in_imagenet_o(class_names: Sequence[str]) -> np.ndarray:
    """(K,) bool: which of these classes, given by WordNet number, are of the 200."""
    return np.array([name in PLACES for name in class_names])
