"""Runs of several processes: which process this is and what it shares (group), starting and ending together
(launching), and seeing that another one is lost (watcher).

``lightning-fabric`` is the engine. It is imported where there are several processes, and nowhere else.
"""
