"""evolvers"""
