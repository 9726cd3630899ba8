"""The properties between plates and engine: how each is read, carried across a span, and put into a result.

`kinds` says which options each takes, `interface` is what a render sees of them, `opening` finds the module by name.
"""
