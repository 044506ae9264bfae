"""The torch-free half: pictures in, detections out."""

import os

# OpenCV reads these once, when it is first loaded, so they are set before any module here imports it; what the user has
# set stays. Damaged pictures and absent cameras become SourceErrors; OpenCV and FFmpeg need not print them as well.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# The most pixels a picture may have: 16384 x 16384, decoded 805 MB. A few bytes of a hostile header can ask for more;
# where cv2 was imported before onelook, OpenCV's own bound of 2^30 holds.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**28))
