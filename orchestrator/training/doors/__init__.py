"""Train by a function or a script of the user's: `segment_of_code.run` in place of a Trainer of the sweep's."""
