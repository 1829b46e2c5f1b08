"""Every statement of the service: `messages` for what goes out by itself, `reminders` for what follows when it is not read, `manual` for what clerks do."""
