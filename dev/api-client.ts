/** A video as the public API shows it; docs of the fields are in the API's contract. */
export interface ApiVideo {
  id: number;
  author: ApiUser;
  play_url: string;
  cover_url: string;
  favorite_count: number;
  comment_count: number;
  is_favorite: boolean;
  title: string;
  create_time: number;
  status: "uploaded" | "processing" | "ready" | "failed";
  status_reason: string;
  width: number;
  height: number;
  duration_ms: number;
}

export interface ApiUser {
  id: number;
  name: string;
  work_count: number;
  avatar: string;
  background_image: string;
  signature: string;
}

/** The gateway answered, but not with success. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly httpStatus: number,
    readonly statusCode: number,
    message: string,
  ) {
    super(message);
  }
}

const timeoutMs = 60_000;

/** The public API of a running gateway, as an app uses it. Every call fails with {@link ApiError} unless it succeeds. */
export function createApiClient(baseUrl: string) {
  async function call<T>(
    path: string,
    params: Record<string, string | number | undefined>,
    init: RequestInit = {},
  ): Promise<T> {
    const url = new URL(`/douyin${path}`, baseUrl);
    for (const [name, value] of Object.entries(params))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMs) });
    const body = (await response.json()) as T & { status_code: number; status_msg: string };
    if (body.status_code !== 0) throw new ApiError(response.status, body.status_code, body.status_msg);
    return body;
  }
  const post = { method: "POST" };
  type Session = { user_id: number; token: string };
  type Page = { video_list: ApiVideo[] };
  return {
    register: (username: string, password: string) => call<Session>("/user/register/", { username, password }, post),
    login: (username: string, password: string) => call<Session>("/user/login/", { username, password }, post),
    user: (token: string, userId?: number) => call<{ user: ApiUser }>("/user/", { token, user_id: userId }),
    /** @param file its name does not matter; the server looks at the bytes. */
    publish(token: string, title: string, file: Blob): Promise<{ video_id: number }> {
      const body = new FormData();
      body.append("token", token);
      body.append("title", title);
      body.append("data", file, "clip.mp4");
      return call("/publish/action/", {}, { ...post, body });
    },
    publishList: (token: string, userId?: number) => call<Page>("/publish/list/", { token, user_id: userId }),
    feed: (options: { latestTime?: number; token?: string } = {}) =>
      call<Page & { next_time: number }>("/feed/", { latest_time: options.latestTime, token: options.token }),
  };
}

export type ApiClient = ReturnType<typeof createApiClient>;
