/** An element: its name, and its text or its child elements. */
export type XmlElement = [name: string, content: string | XmlElement[]];

export function xmlDocument(name: string, content: XmlElement[]): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${xmlElement([name, content])}\n`;
}

function xmlElement([name, content]: XmlElement): string {
  const inner = typeof content === "string" ? escapeXml(content) : content.map(xmlElement).join("");
  return `<${name}>${inner}</${name}>`;
}

/** Characters that have a meaning in XML become entities; those that it cannot carry at all are replaced. */
function escapeXml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\n": "\n",
    "\t": "\t",
  };
  return text.replaceAll(/[&<>"\p{Cc}\uFFFE\uFFFF]/gu, (char) => entities[char] ?? "\uFFFD");
}
