CREATE TABLE `token_revocations` (
	`id` bigint NOT NULL,
	`user_id` bigint NOT NULL,
	`jti` varchar(64) NOT NULL,
	`generation` int NOT NULL,
	`expires_at` bigint NOT NULL,
	CONSTRAINT `token_revocations_id` PRIMARY KEY(`id`)
);
--> statement-breakpoint
ALTER TABLE `users` ADD `token_generation` int DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX `token_revocations_user` ON `token_revocations` (`user_id`);--> statement-breakpoint
CREATE INDEX `token_revocations_expired` ON `token_revocations` (`expires_at`);