"""Listenable explanations of sound classifiers, on top of SpeechBrain.

L-MAC learns a mask over a clip's spectrogram that keeps what a frozen
classifier heard (Paissan, Ravanelli, Subakan, "Listenable Maps for Audio
Classifiers", ICML 2024, arXiv 2403.13086), and turns it back into sound.
"""

__version__ = "0.1.0"
