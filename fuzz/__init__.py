"""Readers of files that anybody may have made, run on hostile bytes: `python fuzz/run.py READER --seconds 60`.

Each module here but `files` and `run` is a reader with a function `one_input(data)`: it gives the bytes to one of
onelook's readers and lets nothing through but what that may raise. What they are tried with first lies in `corpus/`.
"""
