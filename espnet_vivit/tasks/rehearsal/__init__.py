"""`espnet-vivit check`: whether data and model fit, found out before a training starts."""
