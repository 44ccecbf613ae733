ALTER TABLE `videos` ADD `hls_key` varchar(255) DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `preview_key` varchar(255) DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `renditions` varchar(2000) DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `covers` varchar(2000) DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `thumbhash` varchar(64) DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `cover_time_ms` bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `videos` ADD `progress` tinyint DEFAULT 0 NOT NULL;