"""Turning pictures of one class into those of another: what is learned from, how it is tested; the steps are those of
`lamina.steps.generate`."""
