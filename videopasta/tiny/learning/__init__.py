"""How the small models are made: what they are taught, how a lesson becomes tensors, training, examination.

Lessons (`lessons`, `cases`; pure) are drawn from scenes into the samples of a step (`samples`), packed many to a
clip (`packing`), computed (`forward`) by one of the two models (`models`) and learned from (`training`). What a
model then says to prompts (`answering`) becomes candidates for the judge (`candidates`) and marks (`exam`).
"""
