CREATE TABLE `users` (
	`id` bigint NOT NULL,
	`name` varchar(32) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`name_key` varchar(255) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`password_hash` varchar(72) NOT NULL,
	`avatar` varchar(255) NOT NULL DEFAULT '',
	`background_image` varchar(255) NOT NULL DEFAULT '',
	`signature` varchar(255) character set utf8mb4 collate utf8mb4_bin NOT NULL DEFAULT '',
	`created_at` bigint NOT NULL,
	CONSTRAINT `users_id` PRIMARY KEY(`id`),
	CONSTRAINT `users_name_key` UNIQUE(`name_key`)
);
--> statement-breakpoint
CREATE TABLE `videos` (
	`id` bigint NOT NULL,
	`author_id` bigint NOT NULL,
	`title` varchar(100) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`status` enum('uploaded','processing','ready','failed','deleted') NOT NULL,
	`status_reason` varchar(255) character set utf8mb4 collate utf8mb4_bin NOT NULL DEFAULT '',
	`raw_key` varchar(255) NOT NULL,
	`play_key` varchar(255) NOT NULL DEFAULT '',
	`cover_key` varchar(255) NOT NULL DEFAULT '',
	`width` int NOT NULL DEFAULT 0,
	`height` int NOT NULL DEFAULT 0,
	`duration_ms` bigint NOT NULL DEFAULT 0,
	`created_at` bigint NOT NULL,
	`feed_time` bigint,
	`job_attempts` tinyint NOT NULL DEFAULT 0,
	`job_fence` int NOT NULL DEFAULT 0,
	`job_due_at` bigint NOT NULL,
	CONSTRAINT `videos_id` PRIMARY KEY(`id`),
	CONSTRAINT `videos_feed` UNIQUE(`feed_time`)
);
--> statement-breakpoint
CREATE TABLE `work_counts` (
	`user_id` bigint NOT NULL,
	`count` bigint NOT NULL,
	CONSTRAINT `work_counts_user_id` PRIMARY KEY(`user_id`)
);
--> statement-breakpoint
CREATE INDEX `videos_author` ON `videos` (`author_id`,`id`);--> statement-breakpoint
CREATE INDEX `videos_due` ON `videos` (`status`,`job_due_at`);