CREATE TABLE `uploads` (
	`id` bigint NOT NULL,
	`author_id` bigint NOT NULL,
	`title` varchar(100) character set utf8mb4 collate utf8mb4_bin NOT NULL,
	`size` bigint NOT NULL,
	`content_type` varchar(32) NOT NULL,
	`sha256` varchar(64) NOT NULL,
	`part_bytes` int NOT NULL,
	`raw_key` varchar(255) NOT NULL,
	`store_upload_id` varchar(255) NOT NULL,
	`video_id` bigint NOT NULL DEFAULT 0,
	`created_at` bigint NOT NULL,
	`expires_at` bigint NOT NULL,
	CONSTRAINT `uploads_id` PRIMARY KEY(`id`)
);
--> statement-breakpoint
DROP INDEX `profile_images_due` ON `profile_images`;--> statement-breakpoint
DROP INDEX `videos_due` ON `videos`;--> statement-breakpoint
ALTER TABLE `profile_images` MODIFY COLUMN `status` enum('uploaded','processing','ready','failed','replaced') NOT NULL;--> statement-breakpoint
ALTER TABLE `profile_images` ADD `job_faults` tinyint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `profile_images` ADD `job_dead` boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `sha256` varchar(64) DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `deleted_at` bigint;--> statement-breakpoint
ALTER TABLE `videos` ADD `job_faults` tinyint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `job_dead` boolean DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX `uploads_author` ON `uploads` (`author_id`,`sha256`);--> statement-breakpoint
CREATE INDEX `uploads_expiry` ON `uploads` (`expires_at`);--> statement-breakpoint
CREATE INDEX `videos_author_sha256` ON `videos` (`author_id`,`sha256`);--> statement-breakpoint
CREATE INDEX `profile_images_due` ON `profile_images` (`status`,`job_due_at`,`user_id`);--> statement-breakpoint
CREATE INDEX `videos_due` ON `videos` (`status`,`job_due_at`,`author_id`);