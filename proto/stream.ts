/**
 * The live stream of messages, a call that is not gRPC-web because its answer goes on for as long as its client listens.
 *
 * Request: `GET` with the viewer's token in `authorization: Bearer …` and, in the query:
 * - `peer_id`: only what this person sends; everybody without it.
 * - `since`: an `id:` of an earlier stream, or the `create_time` of a message: first come the messages after it that were sent
 *   meanwhile. Without it the stream begins with what is sent from now on.
 *
 * Response: 200 with server-sent events, or an error in Connect's JSON form (`{ code, message, details }`) under the HTTP status
 * that Connect gives to its code. Each event is one message to the viewer (their own are not repeated to them), and
 * within one stream none comes twice:
 * - `data:` the Message object of the public HTTP API,
 * - `id:` where to go on after it. With a `peer_id` it is the newest `create_time` that was sent. Without, messages of different
 *   people may share a `create_time` and need not become visible in its order, so it is `<newest>-<behind>-<id>-<id>…`, the latter
 *   parts in base 36: everything up to `newest` less `behind` milliseconds was sent, and of what is later the messages with
 *   these ids. At most 32 are named: after a burst, a client that reconnects may get the last 5 s again, never a gap; a
 *   message's own id tells.
 *
 * Lines that begin with a colon are comments: a heartbeat every 15 s, or why the stream ends. It ends when its client is too
 * slow, when the service stops, and after an hour; the client reconnects and goes on.
 */
export const streamPath = "/flick.message.v1.MessageService/Stream";

/**
 * How far the publishing of the viewer's videos is, as a stream of the same kind.
 *
 * Request: as above; in the query `video_id`: only this video of the viewer's; all without it.
 *
 * Response: `data:` is `{ "video_id", "status", "percent", "reason" }` with a status out of `uploaded`, `processing`, `ready`, `failed` and
 * `deleted`. First come the viewer's 20 newest videos (or the one that was asked for) as they are, then every state that one of
 * them, or a new one, gets into; states that follow each other quickly may be left out, the last one never is. There are no ids: a stream
 * that begins again tells the present state again.
 */
export const publishEventsPath = "/flick.video.v1.VideoService/PublishEvents";

export const streamContentType = "text/event-stream; charset=utf-8";
