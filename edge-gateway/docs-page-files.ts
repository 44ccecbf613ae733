import callsJs from "./docs-page/calls.js" with { type: "text" };
import domJs from "./docs-page/dom.js" with { type: "text" };
import endpointCss from "./docs-page/endpoint.css" with { type: "text" };
import endpointJs from "./docs-page/endpoint.js" with { type: "text" };
import eventsJs from "./docs-page/events.js" with { type: "text" };
import indexHtml from "./docs-page/index.htm" with { type: "text" };
import jsonViewJs from "./docs-page/json-view.js" with { type: "text" };
import markdownJs from "./docs-page/markdown.js" with { type: "text" };
import operationsJs from "./docs-page/operations.js" with { type: "text" };
import pageCss from "./docs-page/page.css" with { type: "text" };
import pageJs from "./docs-page/page.js" with { type: "text" };
import schemaJs from "./docs-page/schema.js" with { type: "text" };
import sessionJs from "./docs-page/session.js" with { type: "text" };
import tryItJs from "./docs-page/try-it.js" with { type: "text" };

/** The page at `/docs`, as it is sent to browsers: there is no build step between. */
export const pageHtml = indexHtml;

/** What it loads from `/docs/`. */
export const pageFiles = new Map([
  ["page.css", pageCss],
  ["endpoint.css", endpointCss],
  ["page.js", pageJs],
  ["calls.js", callsJs],
  ["dom.js", domJs],
  ["endpoint.js", endpointJs],
  ["events.js", eventsJs],
  ["json-view.js", jsonViewJs],
  ["markdown.js", markdownJs],
  ["operations.js", operationsJs],
  ["schema.js", schemaJs],
  ["session.js", sessionJs],
  ["try-it.js", tryItJs],
]);
