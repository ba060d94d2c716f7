"""What a cluster is made of: cloud instances, their prices, and the node groups of a cluster file.

Imports neither torch nor ray.
"""

from videopasta.cluster.instances import Fleet, InstanceType, NodeGroup, load_instances, read_fleet

__all__ = ["Fleet", "InstanceType", "NodeGroup", "load_instances", "read_fleet"]
