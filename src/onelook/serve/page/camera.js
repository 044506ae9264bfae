// The webcam, or a phone's camera on its back.

import { Problem } from "./api.js";

const REASONS = {
  NotAllowedError: "The browser does not let this page use the webcam; allow it and try again.",
  NotFoundError: "There is no webcam.",
  NotReadableError: "The webcam is in use by another program.",
};

/** A camera that runs; `onEnd` is called where it is taken away. Throws Problem. */
export async function openCamera(onEnd) {
  if (!navigator.mediaDevices) {
    throw new Problem("Browsers lend a webcam only to pages that come by HTTPS or from this computer itself.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
    });
  } catch (error) {
    throw new Problem(REASONS[error.name] ?? `The webcam cannot be used: ${error.message}`);
  }
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  video.srcObject = stream;
  stream.getVideoTracks()[0].addEventListener("ended", onEnd);
  await video.play();
  return {
    /** What it sees now, an ImageBitmap. */
    frame: () => createImageBitmap(video),
    close() {
      stream.getTracks().forEach((track) => track.stop());
      video.srcObject = null;
    },
  };
}

/** A frame as a JPEG file. */
export function toJpeg(bitmap) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}
