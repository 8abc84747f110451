/** QR codes in front of the camera, in browsers that can read them. */

/** Pause between two pictures, milliseconds. */
const PAUSE = 150;
const QR = "qr_code";

/** The part of the Shape Detection API that is used; TypeScript does not have it. */
interface Detector {
  detect(source: HTMLVideoElement): Promise<readonly { readonly rawValue: string }[]>;
}

interface DetectorClass {
  new (options: { formats: readonly string[] }): Detector;
  getSupportedFormats(): Promise<readonly string[]>;
}

function detectorClass(): DetectorClass | undefined {
  return (globalThis as { BarcodeDetector?: DetectorClass }).BarcodeDetector;
}

/** Whether the browser can use a camera and read QR codes. */
export async function canRead(): Promise<boolean> {
  const hasCamera = (navigator.mediaDevices as MediaDevices | undefined) !== undefined;
  return (
    hasCamera &&
    (
      await detectorClass()
        ?.getSupportedFormats()
        .catch((): string[] => [])
    )?.includes(QR) === true
  );
}

/** Shows the camera's picture until `isWanted` takes a code, or until `signal` is aborted. Fails if there is no camera. */
export async function read(video: HTMLVideoElement, isWanted: (text: string) => boolean, signal: AbortSignal): Promise<void> {
  const Class = detectorClass();
  if (Class === undefined) {
    throw new TypeError("the browser reads no QR codes");
  }
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  try {
    video.srcObject = stream;
    await video.play();
    const detector = new Class({ formats: [QR] });
    while (!signal.aborted) {
      const found = await detector.detect(video);
      if (found.some(({ rawValue }) => isWanted(rawValue))) {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } finally {
    video.srcObject = null;
    stream.getTracks().forEach((track) => track.stop());
  }
}
