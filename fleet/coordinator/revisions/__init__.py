"""People as they are contributed, and the revisions that they become."""
