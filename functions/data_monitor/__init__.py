"""The data monitor: what an endpoint is asked and answers, against what its model was trained on."""
