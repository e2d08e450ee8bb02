"""The contract of a writer: a network that says after every token how likely each is to come next; one file here.

A module `lamina/networks/writers/NAME.py` offers

- `READS`: what it reads besides the text that it writes: "text", "image", or "" for nothing;
- `Options`: a frozen dataclass of its sizes with defaults, among them `width` and `dropout`;
- `build(vocabulary, context, source, options) -> nn.Module`: writes texts of at most `context` tokens; `source` says
  what is read: the tokens of a text at most (0 where none is), or the network that looks at pictures (an `Assembly`
  without heads). Of the module

  - `forward(inputs)` gives log-odds [row, step, token] from "text" [row, step] and, where it reads, "source", a text
    [row, place], padded with 0, or encoded pictures: all steps at once, each without a look at those after it;
  - `step(tokens, cache, *read)` gives the same for the next tokens only, and the cache for those after them;
  - `read(source)`, where it reads, gives what `step` needs of the source: a memory [row, 2 * layer, head, place, each];
    beside that of a text, `step` takes the source itself;
  - `cache_shape` is (2 * layers, heads, width of a head).

A writer that can take the weights of a given causal model offers more (`lamina.networks.transfer.causal`).

These are no families of `lamina.networks`: those give one vector for one field.
"""

TEXT, SOURCE = "text", "source"
"""What the inputs are called: what is being written, and what is read."""
