"""Captions: what is learned from pictures that have one, how it is chosen, trained and tested.

Rows are read and prepared like all others; steps 3 to 5 are here, on top of what `lamina.steps.written` has for every
text that is written.
"""
