"""Who is told: inboxes of persons, and messages that leave the platform.

Owns messages, deliveries with their attempts, and the endpoints of departments; keeps a read model of the grid's directory.
Publishes nothing. Hears NoticeRequested of every service, and the grid's departments, posts and staff.
"""
