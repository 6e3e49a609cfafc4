"""Are two arms different, and is that more than noise: estimates with intervals over seeds."""
