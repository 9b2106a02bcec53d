"""What is known about running groups: last words of failed ranks, and taints of nodes that are being drained."""
