"""What can be known before a training starts: the machine, the configuration, the data, the videos."""
