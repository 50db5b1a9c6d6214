"""Runs of experiments: flags, a folder that one process holds, training that can be stopped and continued, arms.

A runner is a config (:mod:`msr.runs.config`), a function ``run(config)`` that lists its arms and computes them
(:mod:`msr.runs.arms`, :mod:`msr.runs.training`) in a folder (:mod:`msr.runs.folder`), and a last line
``sys.exit(main(Config, run))`` (:mod:`msr.runs.command`). Nothing is imported here, because
:mod:`msr.runs.signals` is needed before torch is loaded.
"""
