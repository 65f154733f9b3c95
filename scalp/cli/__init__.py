"""What a user says: arguments, environment, his own class, and where files go.

settings        arguments, environment and keys
options         options that several commands have
config          options from a file, scalp.toml
risk_options    the risk limits, as options
fee_options     which fees apply
algo_loader     loading a user's own ScalpAlgo
parameters      `--set`: class attributes of its class
identity        which class it is: parameters, and a fingerprint of its source
venues          the feeds and brokers that can be named, and what opens them
command         what all commands do: output files, exit codes
progress        how far long work is
paths           where the program keeps its files
private         files that nobody else may read
dotenv          a `.env` that nobody has loaded
versions        which versions ran
"""
