"""The contract of a recommender: from what somebody had, in order, to what comes next; one file here.

A module `lamina/networks/recommenders/NAME.py` offers

- `Options`: a frozen dataclass of its sizes with defaults, among them `width` and `dropout`;
- `build(steps, options) -> nn.Module`: reads embedded histories of at most `steps` items. Its `forward(start, items)`
  takes what is known before the first item, [row, width], and the items' vectors, [row, step, width], and gives states
  [row, 1 + step, width]: state t knows the start and the first t items, and nothing of those after.

All states of a history come at once, so that every position of it is an example to learn from. The vectors of items,
the features of users and the scores of the catalogue are the same for all recommenders (`_recommender`). These are no
families of `lamina.networks`: those give one vector for one field.
"""
