"""`sweep watch`: a sweep on the whole screen, from its journal alone, while it runs and afterwards.

`watched` is the sweep as it is read, `rows` and `columns` the table's content, `head`, `side` and `story` the texts
around it; `table`, `dialogs` and `screen` put them on the screen; `snapshot` is what there is without one.
"""
