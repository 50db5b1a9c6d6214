"""The name of a finite group: its order, its isomorphism class where that can be proven, and how it acts."""

from msr.groups.naming.group_name import Action as Action
from msr.groups.naming.group_name import GroupName as GroupName
from msr.groups.naming.name import name_group as name_group

__all__ = ["Action", "GroupName", "name_group"]
