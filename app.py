"""The Streamlit app, for hosts that look for ``app.py``; `xaibench app` opens the same."""

from xaibench.pages.router import main

main()
