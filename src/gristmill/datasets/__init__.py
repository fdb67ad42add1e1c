"""Knowledge of agents, made from files by templates: searched by meaning and by words, counted by SQL."""
