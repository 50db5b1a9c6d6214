"""Families of related tasks: problems whose hidden structure is known, and readers for one's own."""

from tasks._base import TaskFamily as TaskFamily
from tasks.files import FileTasks as FileTasks
from tasks.finite_group import FiniteGroupTasks as FiniteGroupTasks
from tasks.images import ImageTasks as ImageTasks
from tasks.rotation import RotationTasks as RotationTasks
from tasks.translation import TranslationTasks as TranslationTasks

__all__ = ["FileTasks", "FiniteGroupTasks", "ImageTasks", "RotationTasks", "TaskFamily", "TranslationTasks"]
