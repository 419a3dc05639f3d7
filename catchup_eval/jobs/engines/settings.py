"""What `--engine-set KEY=VALUE` may set, common to all engines."""

from typing import Annotated

from pydantic import ConfigDict, Field

from catchup_eval.core.settings import Settings


class EngineSettings(Settings):
    """Settings of an engine; numbers may be spelled as text, as on the command line.

    Attributes:
        threads: of torch, for each task; the engine's default where it is 0. Results that were
            measured with equal threads are equal to the last bit.
    """

    model_config = ConfigDict(strict=False)

    threads: Annotated[int, Field(ge=0, le=1024)] = 0


class TeamSettings(EngineSettings):
    """Settings of an engine whose workers can start processes that train one network together.

    Attributes:
        devices: of one training, each with a process of its own, on one machine.
    """

    devices: Annotated[int, Field(ge=1, le=64)] = 1
