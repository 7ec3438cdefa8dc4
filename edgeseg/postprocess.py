"""temporary"""
import numpy as np
def upsample_argmax(logits, size):
    import cv2
    return cv2.resize(np.ascontiguousarray(logits,dtype=np.float32),(size[1],size[0]),interpolation=cv2.INTER_LINEAR).argmax(-1).astype(np.uint8)
