/** Header of service tokens; `authorization` is the viewer's. */
export const serviceTokenHeader = "x-flick-service-token";
