CREATE TABLE `comments` (
	`id` bigint NOT NULL,
	`video_id` bigint NOT NULL,
	`user_id` bigint NOT NULL,
	`content` varchar(500) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`created_at` bigint NOT NULL,
	CONSTRAINT `comments_id` PRIMARY KEY(`id`)
);
--> statement-breakpoint
CREATE TABLE `video_comment_counts` (
	`video_id` bigint NOT NULL,
	`count` bigint NOT NULL,
	CONSTRAINT `video_comment_counts_video_id` PRIMARY KEY(`video_id`)
);
--> statement-breakpoint
CREATE TABLE `favorites` (
	`user_id` bigint NOT NULL,
	`video_id` bigint NOT NULL,
	`author_id` bigint NOT NULL,
	`id` bigint NOT NULL,
	CONSTRAINT `favorites_user_id_video_id_pk` PRIMARY KEY(`user_id`,`video_id`),
	CONSTRAINT `favorites_list` UNIQUE(`user_id`,`id`)
);
--> statement-breakpoint
CREATE TABLE `user_favorite_counts` (
	`user_id` bigint NOT NULL,
	`favorite_count` bigint NOT NULL,
	`total_favorited` bigint NOT NULL,
	CONSTRAINT `user_favorite_counts_user_id` PRIMARY KEY(`user_id`)
);
--> statement-breakpoint
CREATE TABLE `video_favorite_counts` (
	`video_id` bigint NOT NULL,
	`count` bigint NOT NULL,
	CONSTRAINT `video_favorite_counts_video_id` PRIMARY KEY(`video_id`)
);
--> statement-breakpoint
CREATE TABLE `conversations` (
	`low_id` bigint NOT NULL,
	`high_id` bigint NOT NULL,
	`last_id` bigint NOT NULL,
	`last_from_id` bigint NOT NULL,
	`last_content` varchar(1000) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`last_time` bigint NOT NULL,
	CONSTRAINT `conversations_low_id_high_id_pk` PRIMARY KEY(`low_id`,`high_id`)
);
--> statement-breakpoint
CREATE TABLE `messages` (
	`id` bigint NOT NULL,
	`low_id` bigint NOT NULL,
	`high_id` bigint NOT NULL,
	`from_id` bigint NOT NULL,
	`content` varchar(1000) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`create_time` bigint NOT NULL,
	CONSTRAINT `messages_id` PRIMARY KEY(`id`),
	CONSTRAINT `messages_conversation` UNIQUE(`low_id`,`high_id`,`create_time`)
);
--> statement-breakpoint
CREATE TABLE `follow_counts` (
	`user_id` bigint NOT NULL,
	`follow_count` bigint NOT NULL,
	`follower_count` bigint NOT NULL,
	CONSTRAINT `follow_counts_user_id` PRIMARY KEY(`user_id`)
);
--> statement-breakpoint
CREATE TABLE `follows` (
	`follower_id` bigint NOT NULL,
	`followee_id` bigint NOT NULL,
	`id` bigint NOT NULL,
	CONSTRAINT `follows_follower_id_followee_id_pk` PRIMARY KEY(`follower_id`,`followee_id`),
	CONSTRAINT `follows_following` UNIQUE(`follower_id`,`id`),
	CONSTRAINT `follows_followers` UNIQUE(`followee_id`,`id`)
);
--> statement-breakpoint
CREATE TABLE `profile_images` (
	`id` bigint NOT NULL,
	`user_id` bigint NOT NULL,
	`kind` enum('avatar','background') NOT NULL,
	`status` enum('uploaded','processing','ready','failed') NOT NULL,
	`status_reason` varchar(255) character set utf8mb4 collate utf8mb4_bin NOT NULL DEFAULT '',
	`raw_key` varchar(255) NOT NULL,
	`image_key` varchar(255) NOT NULL DEFAULT '',
	`created_at` bigint NOT NULL,
	`job_attempts` tinyint NOT NULL DEFAULT 0,
	`job_fence` int NOT NULL DEFAULT 0,
	`job_due_at` bigint NOT NULL,
	CONSTRAINT `profile_images_id` PRIMARY KEY(`id`)
);
--> statement-breakpoint
CREATE INDEX `comments_video` ON `comments` (`video_id`,`id`);--> statement-breakpoint
CREATE INDEX `favorites_video` ON `favorites` (`video_id`);--> statement-breakpoint
CREATE INDEX `conversations_high` ON `conversations` (`high_id`);--> statement-breakpoint
CREATE INDEX `profile_images_user` ON `profile_images` (`user_id`,`kind`,`status`,`id`);--> statement-breakpoint
CREATE INDEX `profile_images_due` ON `profile_images` (`status`,`job_due_at`);