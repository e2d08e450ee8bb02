"""The five steps where texts are written: the tasks "write" and "translate"."""
