"""What reports, the app and notebooks draw with: names, pictures and small pieces of HTML."""
