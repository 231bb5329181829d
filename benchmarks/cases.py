"""What is timed: the same networks, weights and batches for every implementation. Imports nothing that one may lack."""

ARCHITECTURES = ("conv", "lstm")
PRIVACY_UNITS = ("window", "subject")
BATCHES = (64, 256, 512)  # windows
WINDOW = (60, 10)  # seconds, nine signals and the label
WINDOWS_PER_SUBJECT = 64
FILTERS, KERNEL_SIZE, STRIDE = 64, 5, 2  # of both convolutions
LEAK = 0.2  # slope of the leaky ReLU below zero
LSTM_UNITS = 60
CLIP_NORM = 0.3
