/** Fills that differ in form, for those who do not tell the colours apart. The style sheet has the same for the legend. */

const SIZE = 8; // pixels

/** @type {Record<string, (pen: CanvasRenderingContext2D) => void>} */
const FORMS = {
  "area-1": () => {},
  "area-2": (pen) =>
    lines(pen, [
      [-2, 2, 2, -2],
      [0, SIZE, SIZE, 0],
      [6, 10, 10, 6],
    ]),
  "area-3": (pen) => lines(pen, [[0, 4, SIZE, 4]]),
  "area-4": (pen) => lines(pen, [[4, 0, 4, SIZE]]),
  "area-5": (pen) =>
    lines(pen, [
      [0, 4, SIZE, 4],
      [4, 0, 4, SIZE],
    ]),
};

/** @param {CanvasRenderingContext2D} pen @param {number[][]} strokes */
function lines(pen, strokes) {
  for (const [x, y, toX, toY] of strokes) {
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(toX, toY);
    pen.stroke();
  }
}

/** @param {string} name @param {string} colour @returns {CanvasPattern} */
export function patternOf(name, colour) {
  const canvas = document.createElement("canvas");
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(SIZE * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(canvas.width / SIZE, canvas.height / SIZE);
  pen.fillStyle = pen.strokeStyle = colour;
  pen.globalAlpha = 0.38;
  pen.fillRect(0, 0, SIZE, SIZE);
  pen.globalAlpha = 0.9;
  pen.lineWidth = 1.2;
  FORMS[name]?.(pen);
  return pen.createPattern(canvas, "repeat");
}
