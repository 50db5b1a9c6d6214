"""From what the tasks say of each candidate to the group that is named, or to none, or to *cannot tell*."""
