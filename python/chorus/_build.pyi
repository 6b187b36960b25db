VERSION: str
TORCH: str
CUDA: bool
