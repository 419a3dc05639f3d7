"""Evaluation inside other people's training loops.

numbers = headline_numbers(model, data, only=["clean", "corruption"])     # any loop
Trainer(callbacks=[evaluation_callback(data, every=5, only=["clean"])])   # Lightning
"""

from catchup_eval.integrations.lightning import evaluation_callback as evaluation_callback
from catchup_eval.integrations.loop import headline_numbers as headline_numbers
