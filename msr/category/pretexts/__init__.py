"""Categories of pretext tasks from data: tables of Hom, ideal models, surrogates, transfer."""
