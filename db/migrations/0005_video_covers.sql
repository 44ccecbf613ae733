CREATE TABLE `video_covers` (
	`id` bigint NOT NULL,
	`author_id` bigint NOT NULL,
	`time_ms` bigint NOT NULL,
	`status` enum('uploaded','processing','ready','failed') NOT NULL,
	`status_reason` varchar(255) character set utf8mb4 collate utf8mb4_bin NOT NULL DEFAULT '',
	`raw_key` varchar(255) NOT NULL,
	`tidy_at` bigint,
	`job_attempts` tinyint NOT NULL DEFAULT 0,
	`job_faults` tinyint NOT NULL DEFAULT 0,
	`job_dead` boolean NOT NULL DEFAULT false,
	`job_fence` int NOT NULL DEFAULT 0,
	`job_due_at` bigint NOT NULL,
	CONSTRAINT `video_covers_id` PRIMARY KEY(`id`)
);
--> statement-breakpoint
CREATE INDEX `video_covers_due` ON `video_covers` (`status`,`job_due_at`,`author_id`);--> statement-breakpoint
CREATE INDEX `video_covers_tidy` ON `video_covers` (`tidy_at`);