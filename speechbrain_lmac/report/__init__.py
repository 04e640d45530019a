"""Results for people: tables, figures, sounds and one page to listen to."""
