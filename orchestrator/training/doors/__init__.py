"""Train by a function or a script of the user's: `code_segment.run` in place of a Trainer of the sweep's."""
